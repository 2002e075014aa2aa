package main

// resize gives the batch another quantity; it returns the lines that have left it.
func (s *state) resize(ref string, qty int) []*line {
	b := s.own(ref)
	if b.qty == qty {
		return nil
	}
	b.qty = qty
	s.effect("quantity %s %d %s", b.ref, b.qty, b.eta)
	return s.release(ref, false)
}

// countProduct makes the batches in a location have the counted pieces on hand. What was found in addition goes to the
// batch recorded last; what was not found is taken from the batches recorded last, available pieces first.
func (s *state) countProduct(args Args) {
	var counted []string
	found := *args.OnHandQty
	for index := len(s.batches) - 1; index >= 0; index-- {
		b := s.batches[index]
		if b.eta == "" && b.location == *args.Location {
			counted = append(counted, b.ref)
			found -= b.qty - b.shipped
		}
	}
	switch {
	case found > 0 && len(counted) == 0:
		s.recordBatch(&batch{ref: args.Ref, location: *args.Location, qty: found})
	case found > 0:
		s.resize(counted[0], s.batch(counted[0]).qty+found)
	case found < 0:
		s.cut(counted, -found)
	}
	s.serveQueue()
}

// unsold are the pieces that are available or held.
func (s *state) unsold() int {
	unsold := 0
	for _, b := range s.batches {
		unsold += b.available() + b.held
	}
	return unsold
}

func (s *state) isLow() bool { return s.unsold() < s.reorder }

// cut removes pieces from the batches, and finds others for the lines that had them when all are cut.
func (s *state) cut(refs []string, lost int) {
	removed := map[string]int{}
	for _, pieces := range []func(*batch) int{(*batch).free, func(b *batch) int { return b.allocated }} {
		for _, ref := range refs {
			taken := min(pieces(s.batch(ref)), lost)
			removed[ref] += taken
			lost -= taken
		}
	}
	var released []*line
	for _, ref := range refs {
		released = append(released, s.resize(ref, s.batch(ref).qty-removed[ref])...)
	}
	s.placeAnew(released, "batch_quantity_changed")
}
