"""What keeps a discriminator in bounds by its loss or after its update, rather than by its weights' rule."""
