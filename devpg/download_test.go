package devpg

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestDownload fetches from a repository on loopback that has this machine's
// own server programs in the shape of the real one's archives.
func TestDownload(t *testing.T) {
	dirs := installedDirs(t.Context())
	if len(dirs) == 0 {
		t.Fatal("no local server programs: ", whatToInstall)
	}
	major, err := majorOf(t.Context(), dirs[0])
	must(t, err)
	program, err := filepath.EvalSymlinks(filepath.Join(dirs[0], "postgres"))
	must(t, err)
	archive := jarOf(t, filepath.Dir(program))
	fetches := 0
	repository := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".jar") {
			fetches++
			w.Write(archive)
			return
		}
		http.NotFound(w, r)
	}))
	defer repository.Close()
	defer http.DefaultClient.CloseIdleConnections()

	cache := t.TempDir()
	must(t, os.Chmod(filepath.Dir(cache), 0o755)) // let the server's user in
	t.Setenv("DEVPG_CACHE", cache)
	t.Setenv("DEVPG_REPOSITORY", repository.URL)
	t.Setenv("DEVPG_MAJOR", strconv.Itoa(major))
	t.Setenv("TMPDIR", t.TempDir())

	for range 2 {
		s, err := Start(t.Context(), Config{Source: SourceDownload})
		must(t, err)
		if n := query[int](t, s.URL(), "select 1"); n != 1 || s.Source() != SourceDownload || s.Major() != major {
			t.Errorf("%d from %s %d", n, s.Source(), s.Major())
		}
		standby, err := s.Standby(t.Context())
		must(t, err)
		must(t, standby.Close())
		must(t, s.Close())
	}
	if fetches != 1 {
		t.Errorf("fetched %d times, not once", fetches)
	}
	if left, _ := os.ReadDir(os.TempDir()); len(left) > 0 {
		t.Errorf("left in TMPDIR: %v", left)
	}
	kept, err := os.ReadDir(cache)
	must(t, err)
	if len(kept) != 1 {
		t.Errorf("kept in the cache: %v", kept)
	}
}

func TestDownloadFailsAtOnceWhereThereIsNoRepository(t *testing.T) {
	closed := httptest.NewServer(nil)
	closed.Close()
	t.Setenv("DEVPG_CACHE", t.TempDir())
	t.Setenv("DEVPG_REPOSITORY", closed.URL)
	_, err := Start(t.Context(), Config{Source: SourceDownload})
	if err == nil || !strings.Contains(err.Error(), "the repository cannot be reached") || !strings.Contains(err.Error(), "apt-get install postgresql") {
		t.Errorf("got %v", err)
	}
}

func TestDownloadSaysWhatTheRepositoryHasNot(t *testing.T) {
	empty := httptest.NewServer(http.NotFoundHandler())
	defer empty.Close()
	defer http.DefaultClient.CloseIdleConnections()
	cache := t.TempDir()
	t.Setenv("DEVPG_CACHE", cache)
	t.Setenv("DEVPG_REPOSITORY", empty.URL)
	_, err := Start(t.Context(), Config{Source: SourceDownload})
	if err == nil || !strings.Contains(err.Error(), "no version found matching") {
		t.Errorf("got %v", err)
	}
	if kept, _ := os.ReadDir(cache); len(kept) > 0 {
		t.Errorf("left in the cache: %v", kept)
	}
}

// jarOf is a zip with a tar.xz with the programs.
func jarOf(t *testing.T, dir string) []byte {
	var tape bytes.Buffer
	tw := tar.NewWriter(&tape)
	for _, name := range []string{"initdb", "postgres"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		must(t, err)
		must(t, tw.WriteHeader(&tar.Header{Name: "bin/" + name, Mode: 0o755, Size: int64(len(data))}))
		_, err = tw.Write(data)
		must(t, err)
	}
	for _, name := range []string{"lib", "share"} { // found from bin, where built so
		target := filepath.Join(filepath.Dir(dir), name)
		if _, err := os.Stat(target); err == nil {
			must(t, tw.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target}))
		}
	}
	must(t, tw.Close())
	var jar bytes.Buffer
	zw := zip.NewWriter(&jar)
	w, err := zw.CreateHeader(&zip.FileHeader{Name: "postgres.txz", Method: zip.Store})
	must(t, err)
	_, err = io.Copy(w, bytes.NewReader(xzStored(tape.Bytes())))
	must(t, err)
	must(t, zw.Close())
	return jar.Bytes()
}

// xzStored is data in the xz format, uncompressed: a stream of one block of
// stored LZMA2 chunks, without a check.
func xzStored(data []byte) []byte {
	le, sum := binary.LittleEndian, crc32.ChecksumIEEE
	varint := func(n uint64) []byte { return binary.AppendUvarint(nil, n) }
	padded := func(b []byte) []byte { return append(b, make([]byte, (4-len(b)%4)%4)...) }

	flags := []byte{0, 0} // no check
	out := append([]byte{0xFD, '7', 'z', 'X', 'Z', 0}, flags...)
	out = le.AppendUint32(out, sum(flags))

	header := []byte{2, 0, 0x21, 1, 0x18, 0, 0, 0} // 12 bytes with its sum; one filter: LZMA2, 16 MiB
	block := le.AppendUint32(header, sum(header))
	control := byte(1) // the first chunk resets the dictionary
	for rest := data; len(rest) > 0; {
		n := min(len(rest), 1<<16)
		block = append(block, control, byte((n-1)>>8), byte(n-1))
		block = append(block, rest[:n]...)
		rest, control = rest[n:], 2
	}
	block = append(block, 0)
	unpadded := uint64(len(block))
	out = append(out, padded(block)...)

	index := append([]byte{0}, varint(1)...)
	index = append(index, varint(unpadded)...)
	index = padded(append(index, varint(uint64(len(data)))...))
	index = le.AppendUint32(index, sum(index))
	out = append(out, index...)

	footer := append(le.AppendUint32(nil, uint32(len(index)/4-1)), flags...)
	out = le.AppendUint32(out, sum(footer))
	return append(append(out, footer...), 'Y', 'Z')
}
