package main

import (
	"cmp"
	"slices"
)

const usualPriority = 5

// place puts a line that has no pieces on a batch; nil: into the queue.
func (s *state) place(l *line, b *batch) {
	if b == nil {
		l.ref = ""
		s.effect("backordered %s %d", l.order, l.qty)
		return
	}
	l.ref = b.ref
	s.count(l, 1)
	s.announce(l)
}

// announce gives the line its place among the placements, and its event.
func (s *state) announce(l *line) {
	s.came++
	l.came = s.came
	if l.until != 0 {
		s.effect("held %s %d %s %d", l.order, l.qty, l.ref, l.until)
	} else {
		s.effect("allocated %s %d %s", l.order, l.qty, l.ref)
	}
}

func (s *state) serveQueue() {
	var waiting []*line
	for _, l := range s.lines {
		if l.ref == "" {
			waiting = append(waiting, l)
		}
	}
	inQueueOrder(waiting)
	for _, l := range waiting {
		if b := s.best(l); b != nil {
			s.place(s.ownLine(l.order), b)
		}
	}
}

func (s *state) endHold(l *line, reason string) {
	s.effect("released %s %d %s %s", l.order, l.qty, l.ref, reason)
	s.count(l, -1)
	s.removeLine(l.order)
}

// makeFirm confirms a held line without a look at the stock, and places a new one.
func (s *state) makeFirm(known, wanted *line) {
	if known == nil {
		s.addLine(wanted)
		s.place(wanted, s.best(wanted))
		return
	}
	if known.until != 0 {
		l := s.ownLine(known.order)
		s.own(l.ref).held -= l.qty
		l.until = 0
		s.announce(l)
	}
}

// stays says whether the line stays on its batch in its new form.
func (s *state) stays(l, wanted *line) bool {
	if l.ref == "" {
		return false
	}
	b := s.batch(l.ref)
	if wanted.qty > l.qty {
		return wanted.suits(b) && b.available() >= wanted.qty-l.qty
	}
	return wanted.sameWants(l) || wanted.suits(b)
}

// canHold says whether a batch has the line, or has room for it.
func (s *state) canHold(wanted *line) bool {
	own := s.line(wanted.order)
	return (own != nil && s.stays(own, wanted)) || s.best(wanted) != nil
}

// resizeHold changes a held line; its own pieces are available to it.
func (s *state) resizeHold(wanted *line) {
	l := s.ownLine(wanted.order)
	stays, came := s.stays(l, wanted), l.came
	target := s.best(wanted)
	if stays {
		target = s.batch(l.ref)
	}
	s.effect("released %s %d %s replaced", l.order, l.qty, l.ref)
	s.count(l, -1)
	l.qty, l.until = wanted.qty, wanted.until
	s.place(l, s.batch(target.ref))
	if stays {
		l.came = came
	}
}

func (s *state) remove(l *line) {
	if l.until != 0 {
		s.endHold(l, "cancelled")
	} else {
		s.effect("deallocated %s %d %s cancelled", l.order, l.qty, l.ref)
		s.count(l, -1)
		s.removeLine(l.order)
	}
	s.serveQueue()
}

// unshipped are the lines of the batch; those that leave it first come first: holds, and what was placed last.
func (s *state) unshipped(ref string) []*line {
	var found []*line
	for _, l := range s.lines {
		if l.ref == ref && !l.shipped {
			found = append(found, l)
		}
	}
	slices.SortFunc(found, func(a, b *line) int {
		if (a.until != 0) != (b.until != 0) {
			return map[bool]int{true: -1, false: 1}[a.until != 0]
		}
		return cmp.Compare(b.came, a.came)
	})
	return found
}

// placeAnew finds a batch for lines that have left theirs. Only the net effect shows.
func (s *state) placeAnew(released []*line, reason string) {
	inOrder := slices.Clone(released)
	inQueueOrder(inOrder)
	left := map[*line]string{}
	for _, l := range inOrder {
		left[l], l.ref = l.ref, ""
		if b := s.best(l); b != nil {
			l.ref = b.ref
			s.count(l, 1)
		}
	}
	for _, l := range inOrder {
		from := left[l]
		if l.ref == from {
			continue
		}
		if l.until == 0 {
			s.effect("deallocated %s %d %s %s", l.order, l.qty, from, reason)
		}
		switch {
		case l.ref == "" && l.until != 0: // A hold never waits.
			s.effect("released %s %d %s %s", l.order, l.qty, from, reason)
			s.removeLine(l.order)
		case l.ref == "":
			s.effect("backordered %s %d", l.order, l.qty)
		default:
			s.announce(l)
		}
	}
}

// release takes lines from the batch: all of them, or as many as are too many.
func (s *state) release(ref string, all bool) []*line {
	var released []*line
	for _, l := range s.unshipped(ref) {
		if !all && s.batch(ref).free() >= 0 {
			break
		}
		l = s.ownLine(l.order)
		s.count(l, -1)
		released = append(released, l)
	}
	return released
}

// changeBatch applies a PATCH: the terms, the ETA, the recall, the quantity, and the queue at last.
func (s *state) changeBatch(args Args) {
	b := s.own(args.Ref)
	before := *b
	set(&b.location, args.Location)
	set(&b.bestBefore, args.BestBefore)
	set(&b.blocked, args.Blocked)
	if b.location != before.location || b.bestBefore != before.bestBefore || b.blocked != before.blocked {
		s.effect("terms %s %s %s %t", b.ref, b.location, b.bestBefore, b.blocked)
	}
	if set(&b.eta, args.Eta); b.eta != before.eta {
		s.effect("eta %s %d %s", b.ref, b.qty, b.eta)
	}
	if args.Reallocate && b.blocked {
		s.placeAnew(s.release(b.ref, true), "batch_blocked")
	}
	qty := b.qty
	set(&qty, args.Qty)
	s.placeAnew(s.resize(b.ref, qty), "batch_quantity_changed")
	s.serveQueue()
}

func set[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}
