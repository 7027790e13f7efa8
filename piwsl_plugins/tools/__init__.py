"""The command ``piwsl``: each verb in a package of its own, what verbs share directly here."""
