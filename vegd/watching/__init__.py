"""The watcher: a process of its own beside the agent, and the only one that speaks to the API
server. It brings the gateway's configuration from the cluster, and takes its status there."""
