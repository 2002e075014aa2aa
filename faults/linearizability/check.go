package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// Verdict is the result for one SKU: "ok", "illegal", or "unknown" where the time was not enough.
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
// It first tries the order that the service itself claims, by the sequences of the events. This order is not believed:
// it has to be possible by the times and the model like any other, and it only makes the search short. Where it is
// not possible, all orders are tried.
func judge(ops []*Operation, limit time.Duration) Verdict {
	began := time.Now()
	verdict := Verdict{SKU: ops[0].SKU, Operations: len(ops)}
	rank(ops)
	result := porcupine.CheckOperationsTimeout(model(), history(ops), limit)
	if result != porcupine.Ok {
		verdict.Placed, verdict.Last, verdict.Refused = explain(ops, limit)
		for _, op := range ops {
			op.turn = -1
		}
		result = porcupine.CheckOperationsTimeout(model(), history(ops), max(limit-time.Since(began), time.Second))
		if result == porcupine.Illegal {
			if placed, last, refused := explain(ops, limit); placed > verdict.Placed {
				verdict.Placed, verdict.Last, verdict.Refused = placed, last, refused
			}
		}
	}
	verdict.Verdict = map[porcupine.CheckResult]string{
		porcupine.Ok: "ok", porcupine.Illegal: "illegal", porcupine.Unknown: "unknown",
	}[result]
	if result == porcupine.Ok {
		verdict.Placed, verdict.Last, verdict.Refused = len(ops), nil, nil
	}
	verdict.Seconds = time.Since(began).Seconds()
	return verdict
}

// rank numbers the operations with a rank, from 0 on.
func rank(ops []*Operation) {
	var ranked []*Operation
	for _, op := range ops {
		op.turn = -1
		if op.Rank != nil {
			ranked = append(ranked, op)
		}
	}
	slices.SortStableFunc(ranked, func(a, b *Operation) int { return cmp.Compare(*a.Rank, *b.Rank) })
	for turn, op := range ranked {
		op.turn = turn
	}
}

func history(ops []*Operation) []porcupine.Operation {
	found := make([]porcupine.Operation, len(ops))
	for index, op := range ops {
		found[index] = porcupine.Operation{Input: op, Call: op.Call, Return: op.End()}
	}
	return found
}

// explain describes the longest order that was found: how many operations it has, the last of them, and why none of
// those that could be next can.
func explain(ops []*Operation, limit time.Duration) (placed int, last, refused []string) {
	_, info := porcupine.CheckOperationsVerbose(model(), history(ops), limit)
	var longest []porcupine.Operation
	for _, partial := range info.PartialLinearizationsOperations()[0] {
		if len(partial) > len(longest) {
			longest = partial
		}
	}
	current := &state{}
	done := map[*Operation]bool{}
	for _, each := range longest {
		op := each.Input.(*Operation)
		done[op] = true
		current, _ = step(current, op)
		last = append(last, op.String())
	}
	var left []*Operation
	for _, op := range ops {
		if !done[op] {
			left = append(left, op)
		}
	}
	slices.SortFunc(left, func(a, b *Operation) int { return cmp.Compare(a.End(), b.End()) })
	for _, op := range left {
		if op.Call <= left[0].End() && len(refused) < shownOperations {
			if _, why := step(current, op); why != "it is not its turn" {
				refused = append(refused, fmt.Sprintf("%s: %s", op, why))
			}
		}
	}
	return len(longest), last[max(0, len(last)-shownOperations):], refused
}
