package devpg

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// tarParts writes an archive, part by part, to a function.
type tarParts func(to func(part []byte) error) error

// unpackHere extracts an archive into the directory, which exists, giving all
// of it to the server's user.
func unpackHere(dir string, archive tarParts) error {
	uid, gid := -1, -1 // of this process
	if os.Geteuid() == 0 {
		var err error
		if uid, gid, _, err = serverUser(); err != nil {
			return err
		}
	}
	return piped(archive, func(r io.Reader) error { return extract(dir, r, uid, gid) })
}

// piped lets archive write what read reads.
func piped(archive tarParts, read func(io.Reader) error) error {
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := archive(func(part []byte) error {
			_, err := w.Write(part)
			return err
		})
		w.CloseWithError(err)
		written <- err
	}()
	err := read(r)
	if err == nil {
		_, err = io.Copy(io.Discard, r) // what follows the end of the archive
	}
	r.CloseWithError(errors.Join(errors.New("the archive was not read to its end"), err))
	if werr := <-written; err == nil {
		err = werr
	}
	return err
}

func extract(dir string, r io.Reader, uid, gid int) error {
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the base backup: %w", err)
		}
		if !filepath.IsLocal(h.Name) {
			return fmt.Errorf("the base backup has a file %q outside of its directory", h.Name)
		}
		path := filepath.Join(dir, h.Name)
		switch h.Typeflag {
		case tar.TypeDir:
			// pg_wal may be there twice.
			if err = os.Mkdir(path, 0o700); errors.Is(err, os.ErrExist) {
				err = nil
			}
		case tar.TypeReg:
			err = writeFile(path, tr)
		case tar.TypeSymlink:
			err = errors.New("tablespaces are not supported")
		default:
			err = fmt.Errorf("its type is %q", h.Typeflag)
		}
		if err == nil && uid >= 0 {
			err = os.Lchown(path, uid, gid)
		}
		if err != nil {
			return fmt.Errorf("the base backup's %s: %w", h.Name, err)
		}
	}
}

func writeFile(path string, r io.Reader) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}
