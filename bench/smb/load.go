package main

import (
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Responses to READ that are larger are not kept where nothing has to be checked in them.
const skipFrom = 16 * 1024

// slot does one operation after another on its connection: one request of it is outstanding at any time.
type slot struct {
	work work
	// The packed request that is outstanding.
	packed    []byte
	messageID uint64
	began     time.Time
	isBusy    bool
}

// work is what a slot does. Each slot has one of its own.
type work interface {
	// begin packs the first request of an operation.
	begin(c *connection) []byte
	// answered takes the response to a request and packs the next of the same operation; nil: the operation is done.
	answered(c *connection, request []byte, response received) ([]byte, error)
}

// result of one run, as the driver gets it.
type result struct {
	Requests int     `json:"requests"`
	Seconds  float64 `json:"seconds"`
	P50Ms    float64 `json:"p50Ms"`
	P99Ms    float64 `json:"p99Ms"`
	CPUUs    float64 `json:"cpuUs"`
}

// run keeps all slots of all connections busy for so long.
func run(connections []*connection, duration time.Duration) (result, error) {
	return measure(len(connections), duration, func(i int, until time.Time) ([]time.Duration, error) {
		return connections[i].run(until)
	})
}

// measure lets so many goroutines work until the time is over, each returning how long its operations took.
func measure(count int, duration time.Duration, work func(i int, until time.Time) ([]time.Duration, error)) (result, error) {
	cpuBefore := cpuTime()
	began := time.Now()
	until := began.Add(duration)
	tooks := make([][]time.Duration, count)
	errs := make([]error, count)
	var all sync.WaitGroup
	for i := range count {
		all.Add(1)
		go func() {
			defer all.Done()
			tooks[i], errs[i] = work(i, until)
		}()
	}
	all.Wait()
	elapsed := time.Since(began)
	cpu := cpuTime() - cpuBefore
	for _, err := range errs {
		if err != nil {
			return result{}, err
		}
	}
	took := slices.Concat(tooks...)
	slices.Sort(took)
	quantile := func(share float64) float64 {
		if len(took) == 0 {
			return 0
		}
		return float64(took[min(len(took)-1, int(share*float64(len(took))))]) / 1e6
	}
	return result{
		Requests: len(took),
		Seconds:  elapsed.Seconds(),
		P50Ms:    quantile(0.5),
		P99Ms:    quantile(0.99),
		CPUUs:    float64(cpu) / 1e3,
	}, nil
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// run is one connection's part: what came in is answered in one go, with one write.
func (c *connection) run(until time.Time) ([]time.Duration, error) {
	took := make([]time.Duration, 0, 1<<18)
	now := time.Now()
	busy := 0
	if err := c.socket.SetDeadline(until.Add(answerWithin)); err != nil {
		return nil, err
	}
	for _, s := range c.slots {
		s.began = now
		c.send(s, s.work.begin(c))
		busy++
	}
	for busy > 0 {
		if err := c.flush(); err != nil {
			return nil, err
		}
		for wait := true; busy > 0 && (wait || c.hasFrame()); wait = false {
			got, err := c.receive(skipFrom)
			if err != nil {
				return nil, err
			}
			if got.isInterim() {
				continue
			}
			s, err := c.slotOf(le.Uint64(got.message[24:]))
			if err != nil {
				return nil, err
			}
			next, err := s.work.answered(c, s.packed, got)
			if err != nil {
				return nil, err
			}
			if next == nil {
				now = time.Now()
				took = append(took, now.Sub(s.began))
				if now.After(until) {
					s.isBusy = false
					busy--
					continue
				}
				s.began = now
				next = s.work.begin(c)
			}
			c.send(s, next)
		}
	}
	return took, nil
}

func (c *connection) send(s *slot, packed []byte) {
	s.packed = packed
	s.messageID = c.messageID
	s.isBusy = true
	c.put(packed, 0)
}

func (c *connection) slotOf(messageID uint64) (*slot, error) {
	for _, s := range c.slots {
		if s.isBusy && s.messageID == messageID {
			return s, nil
		}
	}
	return nil, fmt.Errorf("a response to message %d, which is not outstanding", messageID)
}
