package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// Verdict is the result for one SKU.
//
//	ok          an order was found
//	illegal     there is none
//	disordered  there is one, but not the order that the service claims
//	suspected   the claimed order is not possible, and the time was not enough to try all others
//	unknown     the time was not enough
//
// Placed counts the operations of the longest order that was found, Last are its last ones, and Refused are those that
// could be next, with the reasons why they cannot.
type Verdict struct {
	SKU        string   `json:"sku"`
	Verdict    string   `json:"verdict"`
	Operations int      `json:"operations"`
	Seconds    float64  `json:"seconds"`
	Placed     int      `json:"placed"`
	Last       []string `json:"last,omitempty"`
	Refused    []string `json:"refused,omitempty"`
}

const shownOperations = 6

// judge looks for an order of the operations of one SKU that the model accepts.
//
// The service claims an order by the sequences of its events. It is not believed: it has to be possible by the times
// and by the model, like any other. But it is tried first, because with it the search is short. Where it is not
// possible all orders are tried; this says whether the history is wrong or only the sequences.
func judge(ops []*Operation, deadline time.Time) Verdict {
	began := time.Now()
	verdict := Verdict{SKU: ops[0].SKU, Operations: len(ops), Placed: len(ops)}
	isClaimed := claim(ops)
	claimed := porcupine.Ok
	if !hasOrderOfLoud(ops, deadline) {
		claimed = check(ops, deadline)
	}
	result := claimed
	if claimed != porcupine.Ok {
		verdict.explain(ops, deadline)
		if isClaimed {
			forget(ops)
			result = check(ops, deadline)
		}
	}
	switch {
	case result == porcupine.Ok && claimed == porcupine.Illegal:
		verdict.Verdict = "disordered"
	case result == porcupine.Ok:
		verdict.Verdict, verdict.Placed, verdict.Last, verdict.Refused = "ok", len(ops), nil, nil
	case result == porcupine.Illegal:
		verdict.Verdict = "illegal"
	case claimed == porcupine.Illegal:
		verdict.Verdict = "suspected"
	default:
		verdict.Verdict = "unknown"
	}
	verdict.Seconds = time.Since(began).Seconds()
	return verdict
}

// claim numbers the operations with a rank, and says whether there are any.
func claim(ops []*Operation) bool {
	forget(ops)
	var ranked []*Operation
	for _, op := range ops {
		if op.Rank != nil {
			ranked = append(ranked, op)
		}
	}
	slices.SortStableFunc(ranked, func(a, b *Operation) int { return cmp.Compare(*a.Rank, *b.Rank) })
	for turn, op := range ranked {
		op.turn = turn
	}
	return len(ranked) > 0
}

func forget(ops []*Operation) {
	for _, op := range ops {
		op.turn = noTurn
	}
}

func check(ops []*Operation, deadline time.Time) porcupine.CheckResult {
	return porcupine.CheckOperationsTimeout(model(), history(ops), left(deadline))
}

// left is the time until the deadline; each search gets some time after it.
func left(deadline time.Time) time.Duration {
	return max(time.Until(deadline), 300*time.Millisecond)
}

func history(ops []*Operation) []porcupine.Operation {
	found := make([]porcupine.Operation, len(ops))
	for index, op := range ops {
		found[index] = porcupine.Operation{Input: op, Call: op.Call, Return: op.End()}
	}
	return found
}

// longest is the longest order that the search has found.
func longest(info porcupine.LinearizationInfo) []*Operation {
	var found []porcupine.Operation
	for _, partial := range info.PartialLinearizationsOperations()[0] {
		if len(partial) > len(found) {
			found = partial
		}
	}
	order := make([]*Operation, len(found))
	for index, each := range found {
		order[index] = each.Input.(*Operation)
	}
	return order
}

// explain describes the longest order that the search finds.
func (verdict *Verdict) explain(ops []*Operation, deadline time.Time) {
	_, info := porcupine.CheckOperationsVerbose(model(), history(ops), left(deadline))
	order := longest(info)
	current, done := &state{}, map[*Operation]bool{}
	for _, op := range order {
		done[op] = true
		current, _ = step(current, op)
		verdict.Last = append(verdict.Last, op.String())
	}
	verdict.Placed = len(order)
	verdict.Last = verdict.Last[max(0, len(order)-shownOperations):]
	rest := slices.DeleteFunc(slices.Clone(ops), func(op *Operation) bool { return done[op] })
	slices.SortStableFunc(rest, func(a, b *Operation) int { return cmp.Compare(a.End(), b.End()) })
	for _, op := range rest {
		// Another operation has ended before this one began, so it comes later.
		if op.Call > rest[0].End() || len(verdict.Refused) == shownOperations {
			continue
		}
		_, refusal := step(current, op)
		verdict.Refused = append(verdict.Refused, fmt.Sprintf("%s: %s", op, refusal))
	}
}
