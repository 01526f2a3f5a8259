# For developers; `make demo` and `make test` come with the packaging.
