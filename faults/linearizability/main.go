// linearizability reads a history from its standard input and says for each SKU whether its operations can have
// happened one after the other, each at one moment between its call and its return.
//
// One JSON document in a line, both ways; see Operation and Verdict. The checker is Porcupine.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"
)

func main() {
	limit := flag.Duration("limit", time.Minute, "the time for the whole history")
	flag.Parse()
	parts, err := read(os.Stdin)
	if err != nil {
		log.Fatal(err)
	}
	output := json.NewEncoder(os.Stdout)
	for _, verdict := range judgeAll(parts, time.Now().Add(*limit)) {
		if err := output.Encode(verdict); err != nil {
			log.Fatal(err)
		}
	}
}

// read returns the operations of each SKU.
func read(from io.Reader) ([][]*Operation, error) {
	input := json.NewDecoder(bufio.NewReader(from))
	places := map[string]int{}
	var parts [][]*Operation
	for {
		op := &Operation{}
		if err := input.Decode(op); err == io.EOF {
			return parts, nil
		} else if err != nil {
			return nil, err
		}
		if op.End() < op.Call {
			return nil, fmt.Errorf("%s of %s ends before it begins", op, op.SKU)
		}
		if op.Effects != nil {
			slices.Sort(*op.Effects)
		}
		if _, known := places[op.SKU]; !known {
			places[op.SKU] = len(parts)
			parts = append(parts, nil)
		}
		parts[places[op.SKU]] = append(parts[places[op.SKU]], op)
	}
}

// judgeAll judges as many SKUs at a time as there are processors, the smallest ones first: those that take long take
// the time that is left.
func judgeAll(parts [][]*Operation, deadline time.Time) []Verdict {
	slices.SortFunc(parts, func(a, b []*Operation) int { return len(a) - len(b) })
	verdicts := make([]Verdict, len(parts))
	turns := make(chan int)
	var workers sync.WaitGroup
	for range runtime.NumCPU() {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for index := range turns {
				verdicts[index] = judge(parts[index], deadline)
			}
		}()
	}
	for index := range parts {
		turns <- index
	}
	close(turns)
	workers.Wait()
	return verdicts
}
