# The Worker without Cloudflare: workerd serve workerd.capnp (see the README). What is kept is in the folder `storage`.
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "main", worker = .worker),
    (name = "storage", disk = (path = "storage", writable = true)),
    (name = "internet", network = (
      allow = ["public", "private", "local"],
      tlsOptions = (trustBrowserCas = true)
    ))
  ],
  sockets = [(name = "http", address = "127.0.0.1:8787", http = (), service = "main")]
);

const worker :Workerd.Worker = (
  modules = [(name = "worker", esModule = embed "worker.js")],
  compatibilityDate = "2026-11-01",
  durableObjectNamespaces = [(className = "Audit", uniqueKey = "audit", enableSql = true)],
  durableObjectStorage = (localDisk = "storage"),
  bindings = [
    (name = "AUDIT", durableObjectNamespace = "Audit"),
    (name = "PUBLISHER_URL", fromEnvironment = "PUBLISHER_URL"),
    (name = "PUBLISHER_TOKEN", fromEnvironment = "PUBLISHER_TOKEN"),
    (name = "OPERATION_TOPIC", fromEnvironment = "OPERATION_TOPIC"),
    (name = "RECORD_TOPIC", fromEnvironment = "RECORD_TOPIC")
  ],
  globalOutbound = "internet"
);
