package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"gopkg.in/yaml.v3"
)

const manifests = "../../deploy/kubernetes/"

type probe struct {
	HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
}

// manifest has the fields of all kinds in deploy/kubernetes that have to agree.
type manifest struct {
	Kind      string
	Resources []string
	Metadata  struct{ Labels map[string]string }
	Spec      struct {
		Replicas     int
		MinAvailable int `yaml:"minAvailable"`
		Selector     yaml.Node
		Ports        []struct {
			Port       int
			TargetPort string `yaml:"targetPort"`
		}
		Template struct {
			Metadata struct{ Labels map[string]string }
			Spec     struct {
				Grace      int `yaml:"terminationGracePeriodSeconds"`
				Containers []struct {
					Args  []string
					Ports []struct {
						Name string
						Port int `yaml:"containerPort"`
					}
					Liveness  probe `yaml:"livenessProbe"`
					Readiness probe `yaml:"readinessProbe"`
				}
			}
		}
	}
}

func manifestOf(t *testing.T, name string) (m manifest) {
	t.Helper()
	text, err := os.ReadFile(manifests + name)
	must(t, err)
	decoder := yaml.NewDecoder(strings.NewReader(string(text)))
	must(t, decoder.Decode(&m))
	if err := decoder.Decode(new(manifest)); !errors.Is(err, io.EOF) {
		t.Fatalf("%s has more than one document, or: %v", name, err)
	}
	return m
}

func TestTheKubernetesBaseAgreesWithTheCommand(t *testing.T) {
	deployment, service := manifestOf(t, "deployment.yaml"), manifestOf(t, "service.yaml")
	budget, base := manifestOf(t, "poddisruptionbudget.yaml"), manifestOf(t, "kustomization.yaml")
	files, err := filepath.Glob(manifests + "*.yaml")
	must(t, err)
	if len(files) != len(base.Resources)+1 {
		t.Errorf("the kustomization lists %q of %q", base.Resources, files)
	}
	pod := deployment.Spec.Template.Spec
	c := pod.Containers[0]
	var parsed struct {
		Serve serveCommand `cmd:""`
	}
	parser, err := kong.New(&parsed)
	must(t, err)
	_, err = parser.Parse(c.Args)
	must(t, err)
	flags := parsed.Serve
	if _, port, _ := strings.Cut(flags.HTTP, ":"); len(c.Ports) != 1 || port != "8080" || c.Ports[0].Port != 8080 || service.Spec.Ports[0].Port != 8080 {
		t.Errorf("it serves at %s, and the ports are %v and %v", flags.HTTP, c.Ports, service.Spec.Ports)
	}
	if name := c.Ports[0].Name; service.Spec.Ports[0].TargetPort != name || c.Liveness.HTTPGet.Port != name || c.Readiness.HTTPGet.Port != name {
		t.Errorf("service and probes do not name port %s", name)
	}
	if c.Liveness.HTTPGet.Path != "/healthz" || c.Readiness.HTTPGet.Path != "/readyz" {
		t.Errorf("the probes ask for %v and %v", c.Liveness, c.Readiness)
	}
	if need := flags.Linger + flags.Grace; flags.Linger <= 0 || time.Duration(pod.Grace)*time.Second < need+5*time.Second {
		t.Errorf("draining takes up to %v, and the pod has %d s", need, pod.Grace)
	}
	if deployment.Spec.Replicas < 2 || budget.Spec.MinAvailable < 1 || budget.Spec.MinAvailable >= deployment.Spec.Replicas {
		t.Errorf("%d replicas, of which %d must be there", deployment.Spec.Replicas, budget.Spec.MinAvailable)
	}
	var selected map[string]string
	must(t, service.Spec.Selector.Decode(&selected))
	for key, value := range selected {
		if deployment.Spec.Template.Metadata.Labels[key] != value {
			t.Errorf("the service selects %s=%s, which the pods have not", key, value)
		}
	}
	text, err := os.ReadFile("../../deploy/Dockerfile")
	must(t, err)
	for _, line := range []string{`ENTRYPOINT ["/pgbarrier"]`, "EXPOSE 8080", "FROM golang:1.26 AS build"} {
		if !slices.Contains(strings.Split(string(text), "\n"), line) {
			t.Errorf("the Dockerfile lacks %q", line)
		}
	}
}
