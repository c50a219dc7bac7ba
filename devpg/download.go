package devpg

import (
	"context"
	"errors"
)

func downloadSite(ctx context.Context, w wish) (*site, error) { return nil, errors.New("not yet") }
