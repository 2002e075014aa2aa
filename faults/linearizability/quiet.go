package main

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// mayBeQuiet are the kinds that change nothing without an effect.
var mayBeQuiet = []string{"allocate", "place", "cancel", "ship", "no_room", "absent", "create_batch", "change_batch"}

// isQuiet says that the operation had no effect, and that its client got no answer: a message that changed nothing.
//
// The search would try each of them at all places of its time, and all combinations. But they do not depend on each
// other, so each can be placed alone into an order of the others.
func (op *Operation) isQuiet() bool {
	return op.Answer == nil && op.Effects != nil && len(*op.Effects) == 0 && slices.Contains(mayBeQuiet, op.Kind)
}

// hasOrderOfLoud says that the operations have an order, found by a search for the others and by the first place of
// each quiet one. Where it says no, there may be an order nevertheless.
func hasOrderOfLoud(ops []*Operation, deadline time.Time) bool {
	var loud, quiet []*Operation
	for _, op := range ops {
		if op.isQuiet() {
			quiet = append(quiet, op)
		} else {
			loud = append(loud, op)
		}
	}
	if len(quiet) == 0 || len(loud) == 0 {
		return false
	}
	result, info := porcupine.CheckOperationsVerbose(model(), history(loud), left(deadline)/2)
	if result != porcupine.Ok {
		return false
	}
	order := insert(quiet, longest(info))
	return order != nil && isOrder(order)
}

// insert places each of the quiet operations at the first place of the order where its time and the state allow it,
// and not before a quiet one that had ended when it began. It returns nil where one has no place.
func insert(quiet []*Operation, order []*Operation) []*Operation {
	states := []*state{{}}
	latestCall, earliestEnd := make([]int64, len(order)+1), make([]int64, len(order)+1)
	latestCall[0], earliestEnd[len(order)] = math.MinInt64, math.MaxInt64
	for index, op := range order {
		after, _ := step(states[index], op)
		states = append(states, after)
		latestCall[index+1] = max(latestCall[index], op.Call)
	}
	for index := len(order) - 1; index >= 0; index-- {
		earliestEnd[index] = min(earliestEnd[index+1], order[index].End())
	}
	fits := func(op *Operation, place int) bool {
		if op.End() < latestCall[place] || op.Call > earliestEnd[place] {
			return false
		}
		after, refusal := step(states[place], op)
		return refusal == "" && sameState(after, states[place])
	}

	slices.SortStableFunc(quiet, func(a, b *Operation) int { return cmp.Compare(a.Call, b.Call) })
	at, placeOf := make([][]*Operation, len(order)+1), map[*Operation]int{}
	for index, op := range quiet {
		place := 0
		for _, before := range quiet[:index] {
			if before.End() < op.Call {
				place = max(place, placeOf[before])
			}
		}
		for place <= len(order) && !fits(op, place) {
			place++
		}
		if place > len(order) {
			return nil
		}
		at[place], placeOf[op] = append(at[place], op), place
	}
	var all []*Operation
	for place, here := range at {
		all = append(all, here...)
		if place < len(order) {
			all = append(all, order[place])
		}
	}
	return all
}

// isOrder says that the operations can come in this order, by their times and by the model.
func isOrder(order []*Operation) bool {
	current, latestCall := &state{}, int64(math.MinInt64)
	for _, op := range order {
		after, refusal := step(current, op)
		if refusal != "" || op.End() < latestCall {
			return false
		}
		current, latestCall = after, max(latestCall, op.Call)
	}
	return true
}
