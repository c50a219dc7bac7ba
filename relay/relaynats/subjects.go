package relaynats

import (
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"
)

// The subjects. NATS permissions are written in their terms, see the package's documentation.
//
//	pgbarrier.v1.hello.<origin>                       every relay that serves the database: who is there?
//	pgbarrier.v1.relay.<relay>                        one relay: all that a session sends
//	pgbarrier.in.<user>.<client>.<origin>.<attempt>   one client: all that a session, or a hello, is sent
const (
	helloSubjects = "pgbarrier.v1.hello."
	relaySubjects = "pgbarrier.v1.relay."
	inboxes       = "pgbarrier.in."
)

func helloSubject(origin uint32) string { return helloSubjects + formatOrigin(origin) }

func formatOrigin(origin uint32) string { return fmt.Sprintf("%08x", origin) }

func parseOrigin(s string) (origin uint32, ok bool) {
	n, err := strconv.ParseUint(s, 16, 32)
	return uint32(n), err == nil && len(s) == 8
}

// newID returns one that cannot be guessed, of letters and digits.
func newID() string { return strings.ToLower(rand.Text()) }

// isToken reports whether s can be one token of a subject.
func isToken(s string) bool {
	return s != "" && !strings.ContainsAny(s, ".*> \t\r\n\f\x00")
}

// An inbox is the subject that a client receives on in one attempt for one database.
func inboxSubject(inbox string, origin uint32, attempt uint64) string {
	return inbox + "." + formatOrigin(origin) + "." + strconv.FormatUint(attempt, 10)
}

// parseInbox is the reverse of inboxSubject.
func parseInbox(inbox, subject string) (origin uint32, attempt uint64, ok bool) {
	rest, ok := strings.CutPrefix(subject, inbox+".")
	if !ok {
		return 0, 0, false
	}
	hex, number, _ := strings.Cut(rest, ".")
	origin, ok = parseOrigin(hex)
	attempt, err := strconv.ParseUint(number, 10, 64)
	return origin, attempt, ok && err == nil
}

// mayAnswer reports whether a relay may publish to a reply subject: it must not be made to publish anywhere else.
func mayAnswer(reply string) bool { return strings.HasPrefix(reply, inboxes) }
