"""Views of models of other frameworks; a framework is imported only where one of its models comes."""
