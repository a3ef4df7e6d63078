"""Models behind one interface, in this process or in others: `interface` is what the service's rooms know of them.

- `EngineServer(registry, socket_path, token, settings)` serves a registry on a Unix socket: `await serve()` listens and
  returns, `await close()` ends it.
- `EngineClient(endpoints, token, settings, pool, observer)` is an `Engine` over such sockets, whose paths
  are `endpoints`: `await start()` begins to connect, `await close()` ends it. `pool` decodes images.
- `token` is a secret of this service's own processes, which their parent tells them.
"""
