# `make run` and `make test` do all the set-up that they need: see scripts/setup.

.PHONY: run test check openapi bench help

help: ## What there is to do
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: ## Millrace on this machine, with a page to look at
	@scripts/setup run
	@scripts/open-when-ready http://127.0.0.1:8000 &
	cargo run --quiet --bin millrace -- serve

check: ## Formatting and lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings

test: ## Everything that CI runs
	@scripts/setup test
	@$(MAKE) --no-print-directory check
	cargo test --workspace --quiet
	@scripts/e2e

openapi: ## Writes openapi/stream.json anew from the code
	cargo run --quiet --bin millrace -- openapi > openapi/stream.json

bench: ## What Millrace does, beside what the machine could do at all
	cargo run --release --quiet -p bench
