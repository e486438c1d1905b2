"""Alembic's side: its configuration is found, its env.py is asked, its history is read and walked."""
