"""How many connections a deployment may open at worst, and how many its servers take."""
