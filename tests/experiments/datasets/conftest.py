"""A server on the loopback address, and a cache folder for what is downloaded."""

import functools
import gc
import http.server
import threading

import pooch
import pytest


@pytest.fixture
def serve():
  """Serves a folder; gives its URL. Refused downloads are collected at the end."""
  servers = []

  class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
      pass

  def start(folder):
    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    servers.append(server)
    return f"http://127.0.0.1:{server.server_port}/"

  yield start
  for server in servers:
    server.shutdown()
    server.server_close()
  gc.collect()


@pytest.fixture
def cache(tmp_path, monkeypatch):
  """The user's cache folder, which is not there yet."""
  folder = tmp_path / "cache"
  monkeypatch.setattr(pooch, "os_cache", lambda _: folder)
  return folder
