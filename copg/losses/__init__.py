"""The methods contrastive policy gradient is compared with, one file each."""
