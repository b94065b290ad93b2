"""The demo: the product on embedded services, with a scripted community."""
