// The sequential model: one SKU, one operation after the other, by the rules of the contract.
//
// It is exact about batches, lines, the queue, the choice of the batch, and the order in which lines are released and
// served. An operation has one outcome; the answer and the events must be those of this outcome where they are known.
// It is written from the contract alone and shares no code with the service or with the oracle.
//
// Left open, because callers are not promised more:
//   - An order of several lines is one operation for each SKU. That its lines are placed at one moment is not checked
//     here; whether it was accepted is taken from its answer and events.
//   - The end of a hold is an operation of its own. It is between the end of the hold and the moment at which its
//     event was read. Reads may show the hold until then. A command that began after the end of a hold and changes
//     something must find that the hold has ended.
//   - Holds whose ends were published together end together: the queue is served once.
//   - Events that say that stock is back, and those of refusals, are left to the oracle.
package main

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/anishathalye/porcupine"
)

// skew allows for clocks that are read on two threads of one machine, in nanoseconds.
const skew = int64(2_000_000)

const (
	statusOK       = 200
	statusCreated  = 201
	statusAccepted = 202
	statusGone     = 204
	statusBad      = 400
	statusMissing  = 404
	statusConflict = 409
)

func model() porcupine.Model {
	return porcupine.Model{
		Partition: bySKU,
		Init:      func() any { return &state{} },
		Step: func(before, input, _ any) (bool, any) {
			after, refusal := step(before.(*state), input.(*Operation))
			return refusal == "", after
		},
		Equal: func(a, b any) bool { return sameState(a.(*state), b.(*state)) },
		Hash:  func(s any) uint64 { return s.(*state).combinedHash },
	}
}

func bySKU(history []porcupine.Operation) [][]porcupine.Operation {
	places := map[string]int{}
	var parts [][]porcupine.Operation
	for _, op := range history {
		sku := op.Input.(*Operation).SKU
		place, known := places[sku]
		if !known {
			place = len(parts)
			places[sku] = place
			parts = append(parts, nil)
		}
		parts[place] = append(parts[place], op)
	}
	return parts
}

// step is the state after the operation, or why the operation cannot come at this place.
func step(before *state, op *Operation) (*state, string) {
	if op.turn != noTurn && op.turn != before.turn {
		return nil, notItsTurn
	}
	after := before.clone()
	shown, refusal := after.run(op)
	if refusal != "" {
		return nil, refusal
	}
	if after.isLow() && !before.isLow() {
		after.effect("low %d %d", after.unsold(), after.reorder)
	}
	if op.Effects != nil {
		slices.Sort(after.effects)
		if !slices.Equal(after.effects, *op.Effects) {
			return nil, fmt.Sprintf("it would have the effects %q", after.effects)
		}
	}
	if len(after.effects) > 0 && op.Kind != "expire" {
		for _, l := range before.lines {
			if l.until != 0 && l.until+skew < op.Call {
				return nil, fmt.Sprintf("the hold of %s had ended before it began", l.order)
			}
		}
	}
	if refusal = op.wrongEnd(after); refusal != "" {
		return nil, refusal
	}
	if refusal = compare(op.Answer, shown); refusal != "" {
		return nil, refusal
	}
	if op.turn != noTurn {
		after.turn++
	}
	after.effects = nil
	return after.seal(), ""
}

// run executes the operation; it returns the answer, or why the operation is not possible.
func (s *state) run(op *Operation) (Answer, string) {
	args := op.Args
	known, wanted := s.line(args.Order), args.line()
	if known != nil && wanted.wantsAnything() {
		wanted.from, wanted.goodUntil, wanted.priority = known.from, known.goodUntil, known.priority
	}
	switch op.Kind {
	case "create_batch":
		return s.createBatch(args), ""
	case "change_batch":
		b := s.batch(args.Ref)
		if b == nil {
			return Answer{Status: statusMissing}, ""
		}
		if args.OnHandQty != nil {
			qty := *args.OnHandQty + *cmp.Or(args.ShippedQty, &b.shipped)
			args.Qty = &qty
		}
		if args.Qty != nil && *args.Qty < b.shipped {
			return Answer{Status: statusConflict}, ""
		}
		s.changeBatch(args)
		return Answer{Status: statusOK, Batch: s.batch(args.Ref).view()}, ""
	case "count_product":
		s.countProduct(args)
		return Answer{Status: statusOK}, ""
	case "set_reorder_point":
		s.reorder = *args.Qty
		return Answer{Status: statusOK}, ""
	case "allocate":
		return s.allocate(known, wanted, args)
	case "place":
		if known == nil && (args.Reject || args.HoldFor > 0) && s.best(wanted) == nil {
			return Answer{}, "no batch can hold the line"
		}
		if known == nil && args.HoldFor > 0 {
			return s.hold(nil, wanted, op)
		}
		if known != nil && known.qty != wanted.qty {
			return Answer{}, "the line has another quantity"
		}
		s.makeFirm(known, wanted)
		return Answer{Line: s.line(args.Order).view()}, ""
	case "hold":
		if known != nil && known.until == 0 {
			return Answer{}, "the line is firm"
		}
		if !s.canHold(wanted) {
			return Answer{}, "no batch can hold the line"
		}
		return s.hold(known, wanted, op)
	case "no_room":
		if s.canHold(wanted) {
			return Answer{}, "a batch can hold the line"
		}
		return Answer{}, ""
	case "replace":
		if known == nil || known.until == 0 {
			return Answer{}, "the line is not held"
		}
		s.endHold(s.ownLine(args.Order), "replaced")
		s.serveQueue()
		return Answer{}, ""
	case "cancel":
		switch {
		case known == nil:
			return Answer{Status: statusMissing}, ""
		case known.shipped:
			return Answer{Status: statusConflict}, ""
		}
		s.remove(s.ownLine(args.Order))
		return Answer{Status: statusGone}, ""
	case "absent":
		if known != nil && !known.shipped {
			return Answer{}, "the line is there, and not shipped"
		}
		return Answer{}, ""
	case "ship":
		switch {
		case known == nil:
			return Answer{Status: statusMissing}, ""
		case known.ref == "" || known.until != 0:
			return Answer{Status: statusConflict}, ""
		}
		s.ship(known)
		return Answer{Status: statusOK, Line: s.line(args.Order).view()}, ""
	case "expire":
		return s.expire(op)
	case "read_line":
		if known == nil {
			return Answer{Missing: true}, ""
		}
		return Answer{Line: known.view()}, ""
	case "read_product":
		if len(s.batches) == 0 {
			return Answer{Missing: true}, ""
		}
		return Answer{Product: s.view()}, ""
	}
	return Answer{}, "its kind is unknown"
}
