"""How the model that ships with tsr is made: pictures, text, network, training, files and scores.

Run it as `python -m tools.demo_model --help` from the top of the repository. `README.md` in this folder has the rest.
"""
