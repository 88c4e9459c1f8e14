"""Recurrent layers: cells equation by equation, normalisation, dropout."""
