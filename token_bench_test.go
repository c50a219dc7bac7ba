package pgbarrier_test

import (
	"testing"

	"github.com/pgbarrier/pgbarrier"
)

func BenchmarkTokenString(b *testing.B) {
	token := parsed(b, someToken)
	b.ReportAllocs()
	for b.Loop() {
		_ = token.String()
	}
}

func BenchmarkTokenMarshalText(b *testing.B) {
	token := parsed(b, someToken)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := token.MarshalText(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseToken(b *testing.B) {
	for name, s := range map[string]string{"valid": someToken, "truncated": someToken[:50]} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = pgbarrier.ParseToken(s)
			}
		})
	}
}

func BenchmarkTokenUnmarshalText(b *testing.B) {
	text := []byte(someToken)
	var token pgbarrier.Token
	b.ReportAllocs()
	for b.Loop() {
		if err := token.UnmarshalText(text); err != nil {
			b.Fatal(err)
		}
	}
}
