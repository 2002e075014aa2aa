package main

import (
	"fmt"
	"slices"
)

func (l *line) view() *LineView {
	status := "allocated"
	switch {
	case l.ref == "":
		status = "backordered"
	case l.shipped:
		status = "shipped"
	case l.until != 0:
		status = "held"
	}
	return &LineView{Qty: l.qty, Status: status, Batch: l.ref, Until: l.until}
}

func (b *batch) view() *BatchView {
	return &BatchView{b.ref, b.qty, b.eta, b.available(), b.allocated, b.shipped, b.held}
}

func (s *state) view() *ProductView {
	anything := Args{}.line()
	batches := slices.Clone(s.batches)
	slices.SortStableFunc(batches, anything.preferred)
	product := &ProductView{Reorder: s.reorder}
	for _, b := range batches {
		shown := b.view()
		product.Batches = append(product.Batches, *shown)
		product.Available += shown.Available
		product.Allocated += shown.Allocated
		product.Shipped += shown.Shipped
		product.Held += shown.Held
	}
	for _, l := range s.lines {
		if l.ref == "" {
			product.Backordered += l.qty
		}
	}
	return product
}

// compare says how the answer that the client got differs from the one of the model; empty: it does not.
func compare(answer *Answer, shown Answer) string {
	if answer == nil {
		return ""
	}
	differs := answer.Status != 0 && shown.Status != 0 && answer.Status != shown.Status ||
		(shown.Missing || answer.Missing) && shown.Missing != answer.Missing ||
		answer.Line != nil && (shown.Line == nil || *answer.Line != *shown.Line) ||
		answer.Batch != nil && (shown.Batch == nil || *answer.Batch != *shown.Batch) ||
		answer.Product != nil && (shown.Product == nil || !sameProduct(answer.Product, shown.Product))
	if !differs {
		return ""
	}
	if answer.Product != nil && shown.Product != nil {
		return productDifference(answer.Product, shown.Product)
	}
	return fmt.Sprintf("its answer would be %s", &shown)
}

func sameProduct(a, b *ProductView) bool {
	return slices.Equal(a.Batches, b.Batches) && a.Backordered == b.Backordered && a.Available == b.Available &&
		a.Allocated == b.Allocated && a.Shipped == b.Shipped && a.Held == b.Held && a.Reorder == b.Reorder
}

// productDifference names the first batch that differs; a product has many.
func productDifference(answered, shown *ProductView) string {
	for index, b := range shown.Batches {
		if index >= len(answered.Batches) {
			return fmt.Sprintf("its answer would have the batch %s", asJSON(b))
		}
		if answered.Batches[index] != b {
			return fmt.Sprintf("its answer would have the batch %s, not %s", asJSON(b), asJSON(answered.Batches[index]))
		}
	}
	sums := *shown
	sums.Batches = nil
	return fmt.Sprintf("its answer would have the sums %s and %d batches", asJSON(sums), len(shown.Batches))
}
