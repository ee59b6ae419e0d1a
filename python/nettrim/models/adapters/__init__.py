"""Views of models of other frameworks; a framework is imported when one of its models comes."""
