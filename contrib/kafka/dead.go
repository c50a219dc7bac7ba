package guardkafka

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// HeaderReason says in a record of Config.Dead or Config.Parked why it is there.
	HeaderReason = "pgbarrier-reason"
	// HeaderOrigin says where it was: topic/partition/offset.
	HeaderOrigin = "pgbarrier-origin"
)

const (
	buryPause = time.Second
	maxReason = 500 // bytes
)

// bury puts a copy of a record into another topic, and reports whether the brokers have it. It goes on until that is so
// or the partition is taken away: the record's offset may be committed only then.
func (p *partition) bury(r *kgo.Record, topic string, reason error) bool {
	text := fmt.Sprint(reason)
	for {
		// The time is not copied: the topic's retention begins now.
		buried := &kgo.Record{Topic: topic, Key: r.Key, Value: r.Value, Headers: r.Headers}
		Headers(buried).Set(HeaderReason, text[:min(len(text), maxReason)])
		Headers(buried).Set(HeaderOrigin, origin(r))
		err := p.client.ProduceSync(p.alive, buried).FirstErr()
		if err == nil {
			return true
		}
		p.config.Report(fmt.Errorf("pgbarrier: kafka: produce %s to %s: %w", origin(r), topic, err))
		sleep(p.running, buryPause)
		if p.running.Err() != nil {
			return false
		}
	}
}

func origin(r *kgo.Record) string { return fmt.Sprintf("%s/%d/%d", r.Topic, r.Partition, r.Offset) }
