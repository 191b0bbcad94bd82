"""Revisited Oxford and Paris (Radenović et al., CVPR 2018): ground truth, protocols and measuring."""
