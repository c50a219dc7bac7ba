package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/pgbarrier/pgbarrier"
)

// An inquiry is one token argument: a token, or why it is none.
type inquiry struct {
	text    string
	token   pgbarrier.Token
	problem error
}

// readTokens parses the arguments; - stands for the words of stdin. What is not a token is part of
// the result: the others are still to be answered.
func readTokens(args []string, stdin io.Reader) ([]inquiry, error) {
	var inquiries []inquiry
	add := func(text string) {
		token, err := pgbarrier.ParseToken(text)
		inquiries = append(inquiries, inquiry{text, token, err})
	}
	for _, arg := range args {
		if arg != "-" {
			add(arg)
			continue
		}
		words := bufio.NewScanner(stdin)
		words.Split(bufio.ScanWords)
		for words.Scan() {
			add(words.Text())
		}
		if err := words.Err(); err != nil {
			return nil, fmt.Errorf("read tokens from stdin: %w", err)
		}
	}
	if len(inquiries) == 0 {
		return nil, usageError{errors.New("no token was given: pass some, or - to read them from stdin")}
	}
	return inquiries, nil
}

// valid returns the tokens among the inquiries.
func valid(inquiries []inquiry) []pgbarrier.Token {
	var tokens []pgbarrier.Token
	for _, q := range inquiries {
		if q.problem == nil {
			tokens = append(tokens, q.token)
		}
	}
	return tokens
}
