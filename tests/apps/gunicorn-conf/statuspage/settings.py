SERVICES = ["mail", "wiki", "chat"]
