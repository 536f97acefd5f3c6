from statuspage import create_app

application = create_app()
