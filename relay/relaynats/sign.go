package relaynats

import (
	"crypto/ed25519"
	"errors"
)

// A relay signs what it sends, if it has a key: the subject, which is one attempt's of one client and never comes
// again, and the message, in which its number is. A signature of one message is so of no use for another.

var errForged = errors.New("a message is not signed by a relay that is trusted")

const signatureContext = "pgbarrier relay\x00"

func signed(subject string, message []byte) []byte {
	b := make([]byte, 0, len(signatureContext)+len(subject)+1+len(message))
	b = append(b, signatureContext...)
	b = append(append(b, subject...), 0)
	return append(b, message...)
}

// sign adds a signature to a message for subject.
func sign(key ed25519.PrivateKey, subject string, message []byte) []byte {
	if key == nil {
		return message
	}
	message[0] |= signedBit
	return append(message, ed25519.Sign(key, signed(subject, message))...)
}

// verify returns the message without its signature. With keys, the signature must be of one of them.
func verify(keys []ed25519.PublicKey, subject string, message []byte) ([]byte, error) {
	if len(message) == 0 || message[0]&signedBit == 0 {
		if len(keys) > 0 {
			return nil, errForged
		}
		return message, nil
	}
	n := len(message) - ed25519.SignatureSize
	if n < 2 {
		return nil, errMalformed
	}
	message, signature := message[:n:n], message[n:]
	trusted := len(keys) == 0
	if !trusted {
		text := signed(subject, message)
		for _, key := range keys {
			trusted = trusted || ed25519.Verify(key, text, signature)
		}
	}
	if !trusted {
		return nil, errForged
	}
	plain := append([]byte(nil), message...)
	plain[0] &^= signedBit
	return plain, nil
}
