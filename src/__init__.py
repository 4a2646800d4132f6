"""What a choice does to a convolutional network. Importing it checks the deny list first."""

from src import deny_list

deny_list.refuse()
