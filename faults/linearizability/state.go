package main

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
)

// batch and line are never changed once a state has them: a step replaces them by changed copies.
type batch struct {
	ref, eta, location, bestBefore string
	blocked                        bool
	qty, allocated, shipped, held  int
	first                          string
	hash                           uint64
}

type line struct {
	order     string
	qty       int
	from      []string
	goodUntil string
	priority  int
	ref       string // of its batch; empty: the line waits
	shipped   bool
	until     int64 // end of the hold; 0: the line is firm
	asked     int   // its place among the requests
	came      int   // its place among the placements
	hash      uint64
}

// state is one SKU: its batches as they were recorded, its lines as they were requested.
type state struct {
	batches      []*batch
	lines        []*line
	asked, came  int
	reorder      int // 0: none
	turn         int
	batchCopies  map[int]bool // only during a step
	lineCopies   map[*line]bool
	effects      []string
	combinedHash uint64
}

const never = "9999-12-31"

func (s *state) clone() *state {
	return &state{
		batches: slices.Clone(s.batches), lines: slices.Clone(s.lines), asked: s.asked, came: s.came, turn: s.turn,
		reorder:     s.reorder,
		batchCopies: map[int]bool{}, lineCopies: map[*line]bool{},
	}
}

// seal ends a step: the hashes of what it changed are computed.
func (s *state) seal() *state {
	for index := range s.batchCopies {
		b := s.batches[index]
		b.hash = digest(fmt.Sprint("batch", b.ref, b.eta, b.location, b.bestBefore, b.blocked, b.qty, b.allocated, b.shipped, b.held))
	}
	for l := range s.lineCopies {
		l.hash = digest(fmt.Sprint("line", l.order, l.qty, l.ref, l.shipped, l.until, l.asked, l.came))
	}
	s.combinedHash = digest(fmt.Sprint("reorder", s.reorder))
	for _, b := range s.batches {
		s.combinedHash ^= b.hash
	}
	for _, l := range s.lines {
		s.combinedHash ^= l.hash
	}
	s.batchCopies, s.lineCopies = nil, nil
	return s
}

func digest(text string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(text))
	return h.Sum64()
}

func sameState(a, b *state) bool {
	sameBatch := func(x, y *batch) bool { return x == y || *x == *y }
	return a == b || a.reorder == b.reorder && slices.EqualFunc(a.batches, b.batches, sameBatch) && slices.EqualFunc(a.lines, b.lines, sameLine)
}

func sameLine(x, y *line) bool {
	return x == y || x.order == y.order && x.qty == y.qty && x.ref == y.ref && x.shipped == y.shipped &&
		x.until == y.until && x.asked == y.asked && x.came == y.came && x.sameWants(y)
}

// --- finding -------------------------------------------------------------------------------------------------------

func (s *state) batchIndex(ref string) int {
	return slices.IndexFunc(s.batches, func(b *batch) bool { return b.ref == ref })
}

func (s *state) batch(ref string) *batch {
	if index := s.batchIndex(ref); index >= 0 {
		return s.batches[index]
	}
	return nil
}

func (s *state) line(order string) *line {
	for _, l := range s.lines {
		if l.order == order {
			return l
		}
	}
	return nil
}

func (b *batch) free() int { return b.qty - b.allocated - b.shipped }

// available is 0 where the batch is blocked. No goods expire during the load.
func (b *batch) available() int {
	if b.blocked {
		return 0
	}
	return b.free()
}

func (l *line) sameWants(other *line) bool {
	return slices.Equal(l.from, other.from) && l.goodUntil == other.goodUntil && l.priority == other.priority
}

func (l *line) wantsAnything() bool {
	return len(l.from) == 0 && l.goodUntil == "" && l.priority == usualPriority
}

func (l *line) suits(b *batch) bool {
	return (len(l.from) == 0 || slices.Contains(l.from, b.location)) &&
		(l.goodUntil == "" || b.bestBefore == "" || b.bestBefore >= l.goodUntil)
}

// preferred orders batches: the line's first location, the warehouse, the first arrival, the shortest life. Batches
// that are equal are in the order in which they were recorded.
func (l *line) preferred(a, b *batch) int {
	rank := func(each *batch) int { return slices.Index(l.from, each.location) }
	life := func(each *batch) string { return cmp.Or(each.bestBefore, never) }
	// The empty date is before all others.
	return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.eta, b.eta), cmp.Compare(life(a), life(b)))
}

// best is the batch that the line gets, nil where none can hold it.
func (s *state) best(l *line) *batch {
	var best *batch
	for _, b := range s.batches {
		if l.suits(b) && b.available() >= l.qty && (best == nil || l.preferred(b, best) < 0) {
			best = b
		}
	}
	return best
}

// inQueueOrder sorts lines by priority, then by request.
func inQueueOrder(lines []*line) {
	slices.SortStableFunc(lines, func(a, b *line) int {
		return cmp.Or(cmp.Compare(b.priority, a.priority), cmp.Compare(a.asked, b.asked))
	})
}

// --- changing ------------------------------------------------------------------------------------------------------

// own returns a batch that this step may change.
func (s *state) own(ref string) *batch {
	index := s.batchIndex(ref)
	if !s.batchCopies[index] {
		copied := *s.batches[index]
		s.batches[index] = &copied
		s.batchCopies[index] = true
	}
	return s.batches[index]
}

// ownLine returns a line that this step may change.
func (s *state) ownLine(order string) *line {
	index := slices.IndexFunc(s.lines, func(l *line) bool { return l.order == order })
	l := s.lines[index]
	if !s.lineCopies[l] {
		copied := *l
		l = &copied
		s.lines[index] = l
		s.lineCopies[l] = true
	}
	return l
}

func (s *state) addLine(l *line) {
	s.asked++
	l.asked = s.asked
	s.lines = append(s.lines, l)
	s.lineCopies[l] = true
}

func (s *state) removeLine(order string) {
	index := slices.IndexFunc(s.lines, func(l *line) bool { return l.order == order })
	delete(s.lineCopies, s.lines[index])
	s.lines = slices.Delete(s.lines, index, index+1)
}

// count adds the pieces of the line to its batch, or takes them away with sign -1.
func (s *state) count(l *line, sign int) {
	if l.ref == "" {
		return
	}
	b := s.own(l.ref)
	b.allocated += sign * l.qty
	if l.until != 0 {
		b.held += sign * l.qty
	}
}

func (s *state) effect(format string, values ...any) {
	s.effects = append(s.effects, fmt.Sprintf(format, values...))
}
