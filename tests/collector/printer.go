package main

import (
	"context"
	"os"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// The exporter `printer`: each request that was received becomes one line of OTLP JSON on stdout. The debug exporter's
// text is made for people.
func newPrinterFactory() exporter.Factory {
	return exporter.NewFactory(
		component.MustNewType("printer"),
		func() component.Config { return &struct{}{} },
		exporter.WithLogs(newLogsPrinter, component.StabilityLevelStable),
		exporter.WithTraces(newTracesPrinter, component.StabilityLevelStable),
	)
}

type lifetime struct {
	component.StartFunc
	component.ShutdownFunc
}

func newLogsPrinter(context.Context, exporter.Settings, component.Config) (exporter.Logs, error) {
	logs, err := consumer.NewLogs(func(_ context.Context, received plog.Logs) error {
		return printLine((&plog.JSONMarshaler{}).MarshalLogs(received))
	})
	return struct {
		lifetime
		consumer.Logs
	}{Logs: logs}, err
}

func newTracesPrinter(context.Context, exporter.Settings, component.Config) (exporter.Traces, error) {
	traces, err := consumer.NewTraces(func(_ context.Context, received ptrace.Traces) error {
		return printLine((&ptrace.JSONMarshaler{}).MarshalTraces(received))
	})
	return struct {
		lifetime
		consumer.Traces
	}{Traces: traces}, err
}

var printing sync.Mutex

// An error, also one of the marshaler's, makes the receiver refuse what it has just received.
func printLine(line []byte, err error) error {
	if err != nil {
		return err
	}
	printing.Lock()
	defer printing.Unlock()
	_, err = os.Stdout.Write(append(line, '\n'))
	return err
}
