"""The HTTP entrypoint: routes, problems and the application that binds them."""
