# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The Python package. Nothing of it is installed by make: it goes by wheel or package (python/README.md).
# tests/local.mk makes asock_pb2.py.

EXTRA_DIST += \
	python/README.md \
	python/asock/__init__.py \
	python/asock/_core.py \
	python/asock/_schema.py \
	python/asock/_transports.py \
	python/asock/aio.py \
	python/asock/blocking.py \
	python/asock/client.py \
	python/asock/errors.py \
	python/asock/py.typed \
	python/examples/fetch.py \
	python/pyproject.toml \
	python/setup.py
