package devpg

import (
	"errors"
	"strings"
)

const childVar = "DEVPG_TEST_CHILD"

func child() {}

func contains(err error, text string) bool { return strings.Contains(err.Error(), text) }

func isClosed(err error) bool { return errors.Is(err, ErrClosed) }
