"""The retrieval track of Google Landmarks v2 (Weyand et al., CVPR 2020): solution file and measuring."""
