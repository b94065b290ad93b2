"""The Discord frontend and the application. Never imports torch or diffusers."""
