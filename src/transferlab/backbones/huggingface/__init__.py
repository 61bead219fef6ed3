"""Nets of Hugging Face's transformers, read as chains of stages."""
