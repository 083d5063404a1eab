# The two commands: `make chat` talks to a model, `make test` runs the tests. Each does all the set-up it needs.
SHELL := /bin/bash
.DEFAULT_GOAL := build
PRESET ?= release
CHAT_ARGS ?=

.PHONY: help setup build chat test train parity test-cuda asan tsan fuzz bench clean

help: ## what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup:
	@scripts/setup.sh

build: setup ## build/fathom and build/deepseek-finetune's home
	@scripts/build.sh $(PRESET) fathom

chat: build ## talk to the default model
	@build/fathom chat $(CHAT_ARGS)

test: setup ## every test of the CPU; ends with their count
	@scripts/build.sh $(PRESET) all
	@scripts/test.sh build

train: build ## a code model of 5M parameters on Python's own sources: trained on the CPU and judged
	@scripts/train_code.sh

parity: setup ## live comparison with transformers on fresh random checkpoints
	@scripts/setup.sh --test
	@scripts/build.sh $(PRESET) all
	@scripts/parity.sh

test-cuda: setup ## the same tests on a GPU
	@scripts/build.sh $(PRESET) all
	@scripts/test_cuda.sh

asan: setup ## the whole CPU suite under AddressSanitizer and UBSan
	@scripts/build.sh debug-asan all
	@scripts/test.sh build-asan

fuzz: setup ## every fuzz target for 10^6 inputs
	@scripts/fuzz.sh

bench: build ## speed beside llama.cpp and this machine's limits
	@scripts/setup.sh --bench
	@scripts/bench.sh

clean:
	rm -rf build build-*
