package integration_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/pgbarrier/pgbarrier"
)

// corpus are texts that are almost tokens: mistakes of every kind by hand, and any number at random.
func corpus(good ...string) []string {
	texts := []string{"", "pgb1", "pgb1.", "pgb1..", "pgb1...", "pgb1....", "x", " ", "é☃", strings.Repeat(".", 100), strings.Repeat("pgb1.", 1000)}
	for _, token := range good {
		parts := strings.Split(token, ".")
		id, xid, origin := parts[1], parts[2], parts[3]
		with := func(id, xid, origin string) { texts = append(texts, "pgb1."+id+"."+xid+"."+origin) }
		for _, x := range []string{"0", "1", "2", "3", "00", "01", "007", "-1", "+1", "1e3", "1.0", " 1", "1 ", "0x1", "1_0", "", "a", "٣", "３", "²", "1\n", "12345678901234567",
			"4294967296", "4294967297", "4294967298", "4294967299", "999999999999999999", "1000000000000000000", "9223372036854775807", "9223372036854775808",
			"9999999999999999999", "18446744073709551615", "18446744073709551616", "99999999999999999999", strings.Repeat("1", 40), "0" + xid, xid + ".0", strings.Repeat("9", 100_000)} {
			with(id, x, origin)
		}
		for version := range 16 {
			with(id[:14]+fmt.Sprintf("%x", version)+id[15:], xid, origin)
			with(id[:19]+fmt.Sprintf("%x", version)+id[20:], xid, origin)
			with(id[:14]+fmt.Sprintf("%X", version)+id[15:], xid, origin)
			with(id[:19]+fmt.Sprintf("%X", version)+id[20:], xid, origin)
		}
		for _, i := range []string{strings.ToUpper(id), strings.ReplaceAll(id, "-", ""), "{" + id + "}", "urn:uuid:" + id, id[:35], id + "0", "-" + id[1:], id[:8] + id[9:] + "0", id[:7] + "-" + id[7:8] + id[9:],
			"00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", "00000000-0000-7000-8000-000000000000", "ffffffff-ffff-7fff-bfff-ffffffffffff", id[:9] + "g" + id[10:], id[:35] + "é", "", " " + id, id + " "} {
			with(i, xid, origin)
		}
		for _, o := range []string{strings.ToUpper(origin), origin + "0", origin[:7], "", "00000000", "ffffffff", "FFFFFFFF", "0000000g", "-0000000", "0x000000", origin[:7] + " ", origin[:7] + "é", origin + ".", origin + "\n", origin + " ", origin[:4] + "." + origin[4:]} {
			with(id, xid, o)
		}
		for _, blank := range []string{" ", "\n", "\t", "\r", "\r\n", "\u00a0", "\u2003", "\ufeff", "\u200b", ".", "-", "%", "_", "\\"} {
			texts = append(texts, token+blank, blank+token, strings.Replace(token, ".", "."+blank, 1), strings.Replace(token, ".", blank, 1), strings.Replace(token, "-", blank, 1))
		}
		texts = append(texts, token, strings.ToUpper(token), strings.ToUpper(token[:1])+token[1:], "pgb2"+token[4:], "pgb"+token[4:], "PGB1"+token[4:], token+token, token+","+token,
			token+strings.Repeat("0", 100_000), strings.Repeat(" ", 10_000)+token, strings.ReplaceAll(token, ".", "．"), strings.ReplaceAll(token, "-", "‐"), "/"+token, `"`+token+`"`, "'"+token+"'")
		for i := range token {
			texts = append(texts, token[:i], token[i:], token[:i]+token[i+1:], token[:i]+token[i:i+1]+token[i:])
		}
		for range 3000 {
			b := []byte(token)
			for range 1 + rand.IntN(3) {
				alphabet := "0123456789abcdefABCDEFg.-_ \n%x"
				c := alphabet[rand.IntN(len(alphabet))]
				switch i := rand.IntN(len(b)); rand.IntN(4) {
				case 0:
					b = append(b[:i:i], b[i+1:]...)
				case 1:
					b = append(b[:i:i], append([]byte{c}, b[i:]...)...)
				case 2:
					j := rand.IntN(len(b))
					b[i], b[j] = b[j], b[i]
				default:
					b[i] = c
				}
			}
			texts = append(texts, string(b))
		}
	}
	return texts
}

// SQL's own users are told "invalid" of the very texts that ParseToken refuses.
func TestSQLAndParseTokenHaveOneGrammar(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	good, bad := committed(t, pool), aborted(t, pool)
	foreign := good
	foreign.Origin++
	old := pgbarrier.Token{ID: bad.ID, XID: 3, Origin: bad.Origin}
	texts := corpus(good.String(), bad.String(), foreign.String(), old.String())
	special := func(xid uint64) bool { return uint32(xid) < 3 } // never handed out

	for name, ask := range map[string]func(texts []string) string{
		"check": func(texts []string) string {
			return query[string](t, pool, "SELECT outcomes FROM pgbarrier.check($1)", texts)
		},
		"visible": func(texts []string) string {
			return query[string](t, pool, "SELECT outcomes FROM pgbarrier.visible($1)", texts)
		},
		"visible in one snapshot": func(texts []string) string {
			tx := begin(t, pool, repeatableRead)
			defer rollback(t, tx)
			return query[string](t, tx, "SELECT outcomes FROM pgbarrier.visible($1)", texts)
		},
		"status": func(texts []string) string {
			return query[string](t, pool, `SELECT string_agg(CASE status WHEN 'invalid' THEN 'I' WHEN 'wrong database' THEN 'W' ELSE upper(left(status, 1)) END, '' ORDER BY ord)
				FROM (SELECT ord, pgbarrier.status(text) FROM unnest($1::text[]) WITH ORDINALITY AS u(text, ord)) AS s`, texts)
		},
	} {
		asked := texts
		if name == "status" {
			asked = texts[:min(len(texts), 4000)] // one by one
		}
		letters := ask(asked)
		if len(letters) != len(asked) {
			t.Fatalf("%s: %d letters for %d texts", name, len(letters), len(asked))
		}
		valid := 0
		for i, text := range asked {
			token, err := pgbarrier.ParseToken(text)
			letter := letters[i]
			switch {
			case err != nil && letter != 'I':
				t.Errorf("%s: %.100q is %c, and ParseToken says %.200v", name, text, letter, err)
			case err != nil:
			case letter == 'I' && !special(token.XID) && token.ID != good.ID:
				t.Errorf("%s: %.100q is invalid, and ParseToken takes it", name, text)
			case token.Origin != good.Origin && letter != 'W':
				t.Errorf("%s: %.100q is %c, and of another database", name, text, letter)
			case token.Origin == good.Origin && letter == 'W':
				t.Errorf("%s: %.100q is of this database, not of another", name, text)
			case letter == 'C' && token != good:
				t.Errorf("%s: %.100q has committed", name, text)
			default:
				valid++
			}
		}
		if valid < 20 {
			t.Errorf("%s: only %d valid texts were tried", name, valid)
		}
	}

	// And the same token is read out of them.
	var utf8s []string
	for _, text := range texts {
		if utf8.ValidString(text) {
			utf8s = append(utf8s, text)
		}
	}
	rows, _ := pool.Query(t.Context(), "SELECT u.text, s.ids[1]::text, s.xids[1]::text FROM unnest($1::text[]) AS u(text), pgbarrier.split(ARRAY[u.text]) s", utf8s)
	type read struct {
		Text    string
		ID, XID *string
	}
	reads, err := pgx.CollectRows(rows, pgx.RowToStructByPos[read])
	if err != nil || len(reads) != len(utf8s) {
		t.Fatalf("%d of %d, %v", len(reads), len(utf8s), err)
	}
	for _, r := range reads {
		token, err := pgbarrier.ParseToken(r.Text)
		if (err == nil) != (r.ID != nil && r.XID != nil) || (r.ID == nil) != (r.XID == nil) {
			t.Errorf("%.100q is split into %v and %v, and ParseToken says %v", r.Text, r.ID, r.XID, err)
		} else if err == nil && (*r.ID != token.ID.String() || *r.XID != fmt.Sprint(token.XID)) {
			t.Errorf("%.100q is split into %s and %s", r.Text, *r.ID, *r.XID)
		}
	}
}
