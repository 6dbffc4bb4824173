"""headway"""
