TEAM = ["Noor", "Wout", "Lies"]

PAGES = {"about": "We bake bread.", "hours": "From seven until it is sold."}
