// An operation is what one command, one read or one end of a hold did to one SKU, as its client and the readers of
// the topic saw it. faults/history.py writes them, one JSON document in a line.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strings"
)

// Operation took effect at one moment between Call and Return, in nanoseconds. Without Return it may take effect at
// any time, or never. Without Answer its client did not get one, and without Effects the events are not known.
type Operation struct {
	ID      string    `json:"id"`
	SKU     string    `json:"sku"`
	Kind    string    `json:"kind"`
	Args    Args      `json:"args"`
	Answer  *Answer   `json:"answer"`
	Effects *[]string `json:"effects"`
	Call    int64     `json:"call"`
	Return  *int64    `json:"return"`
	// Rank orders the operations that changed something as the service claims; see judge.
	Rank *int64 `json:"rank"`
	// turn is the place by Rank, or noTurn where all orders are tried.
	turn int
}

const (
	noTurn     = -1
	notItsTurn = "the claimed order has another one before it"
)

// Args are the arguments of all kinds. An empty date stands for no date; nil leaves the value of the batch as it is.
type Args struct {
	Order      string   `json:"order"`
	Orders     []string `json:"orders"`
	Qty        *int     `json:"qty"`
	From       []string `json:"from"`
	GoodUntil  string   `json:"good_until"`
	Priority   *int     `json:"priority"`
	Reject     bool     `json:"reject"`
	HoldFor    int64    `json:"hold_for"`
	Until      int64    `json:"until"`
	Ref        string   `json:"ref"`
	Eta        *string  `json:"eta"`
	Location   *string  `json:"location"`
	BestBefore *string  `json:"best_before"`
	Blocked    *bool    `json:"blocked"`
	Reallocate bool     `json:"reallocate"`
	OnHandQty  *int     `json:"on_hand_qty"`
	ShippedQty *int     `json:"shipped_qty"`
}

// Answer is what the client got. Only what is there is compared; Missing says that nothing was found.
type Answer struct {
	Status  int          `json:"status"`
	Missing bool         `json:"missing"`
	Line    *LineView    `json:"line"`
	Batch   *BatchView   `json:"batch"`
	Product *ProductView `json:"product"`
}

// LineView is an order line as answers show it. Until is the end of a hold in nanoseconds, else 0.
type LineView struct {
	Qty    int    `json:"qty"`
	Status string `json:"status"`
	Batch  string `json:"batch"`
	Until  int64  `json:"until"`
}

// BatchView is a batch as answers show it.
type BatchView struct {
	Ref       string `json:"ref"`
	Qty       int    `json:"qty"`
	Eta       string `json:"eta"`
	Available int    `json:"available"`
	Allocated int    `json:"allocated"`
	Shipped   int    `json:"shipped"`
	Held      int    `json:"held"`
}

// ProductView is a product as answers show it, with its batches in the order of preference.
type ProductView struct {
	Available   int         `json:"available"`
	Allocated   int         `json:"allocated"`
	Shipped     int         `json:"shipped"`
	Held        int         `json:"held"`
	Backordered int         `json:"backordered"`
	Reorder     int         `json:"reorder_point"`
	Batches     []BatchView `json:"batches"`
}

// End is the latest time at which the operation took effect.
func (op *Operation) End() int64 {
	if op.Return == nil {
		return math.MaxInt64
	}
	return *op.Return
}

func (op *Operation) String() string {
	return fmt.Sprintf("%s %s %s -> %s, effects %q", op.Kind, op.ID, asJSON(op.Args), op.Answer, op.effects())
}

func (op *Operation) effects() []string {
	if op.Effects == nil {
		return nil
	}
	return *op.Effects
}

// String leaves out the batches of a product: it has many.
func (answer *Answer) String() string {
	if answer == nil {
		return "unknown"
	}
	shown := *answer
	if answer.Product != nil {
		sums := *answer.Product
		sums.Batches = nil
		shown.Product = &sums
	}
	return asJSON(shown)
}

// asJSON writes an object without what is absent or empty, for people.
func asJSON(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return err.Error()
	}
	fields := map[string]any{}
	if err := json.Unmarshal(text, &fields); err != nil {
		return err.Error()
	}
	for name, field := range fields {
		if field == nil || field == "" || field == false || field == 0.0 {
			delete(fields, name)
		}
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(fields)
	return strings.TrimSpace(out.String())
}
