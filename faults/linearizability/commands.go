package main

import "fmt"

func (s *state) createBatch(args Args) Answer {
	b := &batch{ref: args.Ref, location: "main"}
	set(&b.qty, args.Qty)
	set(&b.eta, args.Eta)
	set(&b.location, args.Location)
	set(&b.bestBefore, args.BestBefore)
	set(&b.blocked, args.Blocked)
	b.first = fmt.Sprint(b.qty, b.eta, b.location, b.bestBefore, b.blocked)
	if known := s.batch(args.Ref); known != nil {
		if known.first != b.first {
			return Answer{Status: statusConflict}
		}
		return Answer{Status: statusOK, Batch: known.view()}
	}
	s.recordBatch(b)
	s.serveQueue()
	return Answer{Status: statusCreated, Batch: s.batch(args.Ref).view()}
}

func (s *state) recordBatch(b *batch) {
	s.batchCopies[len(s.batches)] = true
	s.batches = append(s.batches, b)
	s.effect("created %s %d %s", b.ref, b.qty, b.eta)
}

func (s *state) allocate(known, wanted *line, args Args) (Answer, string) {
	isHold := args.HoldFor > 0
	switch {
	case len(s.batches) == 0:
		return Answer{Status: statusBad}, ""
	case known != nil && (known.qty != wanted.qty || !known.sameWants(wanted)):
		return Answer{Status: statusConflict}, ""
	case known != nil && (isHold || known.until == 0):
		return Answer{Status: statusOK, Line: known.view()}, ""
	case known == nil && (isHold || args.Reject) && s.best(wanted) == nil:
		return Answer{Status: statusConflict}, ""
	case isHold:
		wanted.until = args.Until
		s.addLine(wanted)
		s.place(wanted, s.best(wanted))
	default:
		s.makeFirm(known, wanted)
	}
	status := statusCreated
	if s.line(args.Order).ref == "" {
		status = statusAccepted
	}
	return Answer{Status: status, Line: s.line(args.Order).view()}, ""
}

// wrongEnd says that the end of a hold does not follow from the time of the operation and its number of seconds.
func (op *Operation) wrongEnd(after *state) string {
	if op.Args.HoldFor == 0 || op.Args.Until == 0 || len(after.effects) == 0 {
		return ""
	}
	began := op.Args.Until - op.Args.HoldFor*1_000_000_000
	if began+skew < op.Call || began-skew > op.End() {
		return "its hold has another end than it asked for"
	}
	return ""
}

// hold begins a hold that has room, or gives it another quantity or end.
func (s *state) hold(known, wanted *line, op *Operation) (Answer, string) {
	wanted.until = op.Args.Until
	switch {
	case known == nil:
		s.addLine(wanted)
		s.place(wanted, s.best(wanted))
	case known.qty != wanted.qty:
		s.resizeHold(wanted)
	case known.until != wanted.until:
		l := s.ownLine(known.order)
		came := l.came
		l.until = wanted.until
		s.announce(l)
		l.came = came
	}
	if op.Kind == "hold" {
		s.serveQueue()
	}
	return Answer{Line: s.line(op.Args.Order).view()}, ""
}

func (s *state) ship(known *line) {
	if known.shipped {
		return
	}
	l := s.ownLine(known.order)
	s.count(l, -1)
	s.own(l.ref).shipped += l.qty
	l.shipped = true
	s.effect("shipped %s %d %s", l.order, l.qty, l.ref)
}

func (s *state) expire(op *Operation) (Answer, string) {
	for _, order := range op.Args.Orders {
		l := s.line(order)
		if l == nil || l.until == 0 {
			return Answer{}, fmt.Sprintf("%s is not held", order)
		}
		if l.until-skew > op.End() {
			return Answer{}, fmt.Sprintf("the hold of %s has not ended", order)
		}
		s.endHold(l, "expired")
	}
	s.serveQueue()
	return Answer{}, ""
}

func (args Args) line() *line {
	l := &line{order: args.Order, from: args.From, goodUntil: args.GoodUntil, priority: usualPriority}
	set(&l.qty, args.Qty)
	set(&l.priority, args.Priority)
	return l
}
