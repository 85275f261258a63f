"""The lateral radiograph: landmarks, what is measured between them, and grades by rule."""
