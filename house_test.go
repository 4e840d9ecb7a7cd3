// Package house_test holds what the house forbids and no linter can see.
package house_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const maxLines = 600

// A name on this list says nothing about what lives there.
var forbiddenNames = []string{"util", "utils", "common", "helper", "helpers", "type", "types", "misc"}

func TestHouse(t *testing.T) {
	seen := 0
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if path != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(name) != ".go" {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		seen++
		for _, complaint := range complaints(path, src) {
			t.Error(complaint)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen == 0 {
		t.Fatal("found no Go file: the walk does not start at the root of the repository")
	}
}

func TestHouseRulesBite(t *testing.T) {
	for name, tc := range map[string]struct {
		path, src, want string
	}{
		"bare go":          {"a/run.go", "package a\n\nfunc f() {\n\tgo f()\n}\n", "a/run.go:4: a bare go statement"},
		"bare go, closure": {"a/run.go", "package a\n\nvar f = func() { go func() {}() }\n", "a/run.go:3: a bare go statement"},
		"go in a test":     {"a/run_test.go", "package a\n\nfunc f() { go f() }\n", ""},
		"owned goroutine":  {"a/run.go", "package a\n\nimport \"sync\"\n\nfunc f(wg *sync.WaitGroup) { wg.Go(func() {}) }\n", ""},
		"package name":     {"a/run.go", "package util\n", "a/run.go: package util"},
		"its tests":        {"a/run_test.go", "package helpers_test\n", "a/run_test.go: package helpers"},
		"directory":        {"common/run.go", "package a\n", "common/run.go: directory common"},
		"file name":        {"a/types.go", "package a\n", "a/types.go: file types"},
		"600 lines":        {"a/run.go", "package a\n" + strings.Repeat("\n", maxLines-1), ""},
		"601 lines":        {"a/run.go", "package a\n" + strings.Repeat("\n", maxLines), "a/run.go: 601 lines"},
		"not Go":           {"a/run.go", "pakcage a\n", "a/run.go:1:1: expected 'package'"},
	} {
		t.Run(name, func(t *testing.T) {
			got := complaints(tc.path, []byte(tc.src))
			switch {
			case tc.want == "" && len(got) > 0:
				t.Errorf("complained without reason: %q", got)
			case tc.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], tc.want)):
				t.Errorf("got %q, want one complaint that begins with %q", got, tc.want)
			}
		})
	}
}

// complaints lists what the house has against one Go file, each with the place and the remedy.
func complaints(path string, src []byte) []string {
	var found []string
	complain := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }

	if lines := bytes.Count(src, []byte("\n")); lines > maxLines {
		complain("%s: %d lines, more than %d: split it by what it does", path, lines, maxLines)
	}
	for dir := filepath.Dir(path); dir != "." && dir != "/"; dir = filepath.Dir(dir) {
		if slices.Contains(forbiddenNames, filepath.Base(dir)) {
			complain("%s: directory %s: name it after what it provides", path, filepath.Base(dir))
		}
	}
	isTest := strings.HasSuffix(path, "_test.go")
	base := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(path), ".go"), "_test")
	if slices.Contains(forbiddenNames, base) {
		complain("%s: file %s: name it after what it holds", path, base)
	}

	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, src, parser.SkipObjectResolution)
	if err != nil {
		complain("%v", err)
		return found
	}
	if pkg := strings.TrimSuffix(file.Name.Name, "_test"); slices.Contains(forbiddenNames, pkg) {
		complain("%s: package %s: name it after what it provides", path, pkg)
	}
	if isTest {
		return found
	}
	for node := range ast.Preorder(file) {
		if stmt, ok := node.(*ast.GoStmt); ok {
			complain("%s:%d: a bare go statement: use sync.WaitGroup.Go or errgroup.Group.Go, and wait",
				path, fset.Position(stmt.Pos()).Line)
		}
	}
	return found
}
