"""How good are the embeddings of two languages, and what is one number for all of them?"""
